"""Our own API, below /api/v1: one file a resource.

What a key made is seen by that key alone. A control comes as a document, as a finished picture, or as a photo with a detector; a
field that is not known here is refused, never ignored.
"""

from webapp.api.routing import Operation
from webapp.api.v1 import conditions, documents, jobs, maps, models, pictures, trainings, transfers

OPERATIONS: list[Operation] = [
    operation
    for resource in (conditions, models, jobs, pictures, maps, documents, transfers, trainings)
    for operation in resource.OPERATIONS
]
