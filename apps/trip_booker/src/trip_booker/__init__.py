"""
Trip Booker: a Quart app whose bookings survive retries, crashes and restarts.

Read `booking` first, then `package`, `saga`, `approval`, `countdown` and `orders`: they are the whole business.
Everything else plays the outside world or shows the result.
"""
