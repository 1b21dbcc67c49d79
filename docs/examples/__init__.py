"""Small applications that the documentation quotes; `test_examples` runs them."""
