"""Attribution as the wiring sees it."""

from tenure.attribution.api import router
from tenure.base.room import Room

ROOM = Room(
    name="attribution",
    events={
        "blame.asked": "A person has a model asked which step failed a run; data: tenure.blame.of (the trace), "
        "tenure.blame.prompt, gen_ai.request.model, server.address",
        "blame.judged": "What came of it; data: tenure.blame.of, tenure.blame.came_to (named, unreadable, failed), "
        "tokens and cost, and what the model named: tenure.blame.step, tenure.blame.agent, tenure.blame.reason",
    },
    router=router,
)
