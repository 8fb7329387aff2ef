"""The errors of Ray that the studio tells apart, related as they are there."""


class RayError(Exception):
    """Any of them."""


class RayTaskError(RayError):
    """What was called has failed."""


class RayActorError(RayError):
    """Whoever was called is gone."""


class ActorDiedError(RayActorError):
    """It died."""


class GetTimeoutError(RayError):
    """Nothing came in time."""


class ObjectStoreFullError(RayError):
    """No room."""


class OutOfDiskError(RayError):
    """No room on the disk."""
