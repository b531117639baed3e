"""Attribution: for a run that failed, the step and the agent that most likely failed it, with the evidence.

No table and no Event of its own, and no judgement of what is true: only what stands in the record.
"""
