import world
from inngest_durable import Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

app = Quart(__name__)
inngest = Inngest(app_id="shop", endpoint_adapter=endpoint_adapter)


@app.post("/orders/<order>")
@inngest.endpoint(retries=20)
async def place_order(order: str) -> dict[str, str]:
    goods = await step.run("reserve", world.reserve, order)
    receipt = await step.run("charge", charge, order, goods["price"])
    await step.run("mail", world.mail, order, receipt)
    return {"receipt": receipt}


async def charge(order: str, amount: int) -> str:
    return await world.charge(order, amount, key=step.idempotency_key())


inngest.init_app(app)
