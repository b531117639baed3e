"""Attribution: for a run that failed, the step and the agent that most likely failed it, with the evidence.

No judgement of what is true: only what stands in the record. A model's opinion, where a person asks for one, stands
beside it.
"""
