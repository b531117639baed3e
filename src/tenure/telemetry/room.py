"""Telemetry as the wiring sees it."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.telemetry import service
from tenure.telemetry.api import router
from tenure.telemetry.feed import routes
from tenure.telemetry.flow import PRUNE
from tenure.telemetry.otlp import over_grpc, over_http

router.include_router(over_http.router)
router.include_router(routes.router)

ROOM = Room(
    name="telemetry",
    events={
        "content.opened": "Somebody was shown what was said, told once an hour for each thing. Data: what (a trace, or "
        "where it is listed), agents, about (whom it was about)",
        "import.call": "A Call that was recorded elsewhere, brought in by a person",
        "import.message": "Who said what to whom in a session that was recorded elsewhere",
        "import.outcome": "How a session that was recorded elsewhere ended: task, trial, reward, success",
        "otlp.event": "An event of the GenAI conventions that an agent sent over OTLP, at its place in the trace",
        "otlp.span": "A span that an agent sent over OTLP, kept as the agent's own words about itself",
    },
    router=router,
    serve=over_grpc.serve,
    pump=service.pump,
    flows=(PRUNE,),
    start=service.open_store,
    stop=service.close_store,
)
