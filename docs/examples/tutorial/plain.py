import world
from quart import Quart

app = Quart(__name__)


@app.post("/orders/<order>")
async def place_order(order: str) -> dict[str, str]:
    goods = await world.reserve(order)
    receipt = await world.charge(order, goods["price"])
    await world.mail(order, receipt)
    return {"receipt": receipt}
