"""The door to the models: an alias and a chat request in, deltas out. Nothing else imports litellm.

models = Models(ModelList.load(path), os.environ)
async with aclosing(models.chat(call, job_id=job.id, attempt=1)) as generation:
    async for item in generation:  # Delta, Delta, …, Finish; or ModelError
        ...
generation.usage_so_far()  # at any time, also after a failure or a cancellation
"""

from tokentail.worker.model.generation import Finish, Generation
from tokentail.worker.model.models import ChatCall, Models

__all__ = ["ChatCall", "Finish", "Generation", "Models"]
