"""Articulated people of the picture world: a pose in angles becomes limbs on the sheet and 18 exact keypoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paperworld.world.figures import contact
from paperworld.world.labels import PERSON
from paperworld.world.palette import HAIR, INK, NAMED, SKIN, TROUSERS, Colour, darker
from paperworld.world.shapes import Body, Bulge, Points, Sheet, Thing, disc, limb

CLOTHES = ("red", "blue", "yellow", "green", "white", "orange", "pink", "purple")
HEAD = 0.104
"""Radius of a head as a share of the standing height."""
NECK = 0.05
"""How far the chin is above the neck's joint, likewise."""
DOING = ("standing", "walking", "running", "waving", "jumping", "dancing", "sitting")


@dataclass(frozen=True)
class Pose:
    """Angles in degrees from straight down, positive towards the viewer's right: upper and lower arms and legs.

    `turn` is the body's yaw, 0 facing us, +1 facing the viewer's right; `lean` tilts the trunk; `lift` is the air under
    the feet as a share of the height.
    """

    right_arm: tuple[float, float]
    left_arm: tuple[float, float]
    right_leg: tuple[float, float]
    left_leg: tuple[float, float]
    turn: float = 0.0
    lean: float = 0.0
    lift: float = 0.0


def _front(doing: str, rng: np.random.Generator) -> Pose:
    u = rng.uniform
    if doing == "waving":
        return Pose((u(-165, -115), u(-200, -160)), (u(8, 24), u(4, 20)), (-u(3, 8), -u(1, 5)), (u(3, 8), u(1, 5)))
    if doing == "jumping":
        a = u(110, 160)
        return Pose(
            (-a, -a - u(0, 30)),
            (a, a + u(0, 30)),
            (-u(18, 45), u(-30, 40)),
            (u(18, 45), u(-40, 30)),
            lift=u(0.05, 0.12),
        )
    if doing == "dancing":
        return Pose(
            (-u(40, 150), -u(20, 210)),
            (u(40, 150), u(20, 210)),
            (-u(4, 40), u(-20, 20)),
            (u(4, 40), u(-20, 20)),
            lean=u(-10, 10),
        )
    if rng.random() < 0.3:  # hands on the hips
        return Pose((-u(42, 52), u(38, 50)), (u(42, 52), -u(38, 50)), (-u(5, 12), -u(2, 6)), (u(5, 12), u(2, 6)))
    return Pose((-u(8, 26), -u(2, 20)), (u(8, 26), u(2, 20)), (-u(2, 9), -u(0, 6)), (u(2, 9), u(0, 6)))


def _side(doing: str, rng: np.random.Generator) -> Pose:
    """A pose seen from the side, facing the viewer's right."""
    u = rng.uniform
    if doing == "sitting":
        return Pose(
            (u(20, 40), u(60, 85)),
            (u(15, 35), u(60, 90)),
            (u(82, 90), u(-4, 6)),
            (u(80, 88), u(0, 12)),
            u(0.7, 0.9),
            u(-4, 4),
        )
    far = 1 if rng.random() < 0.5 else -1
    if doing == "running":
        swing, knee, arm, lean, lift = u(34, 48), u(50, 85), u(40, 60), u(6, 14), u(0, 0.04)
        elbow = u(70, 95)
    else:
        swing, knee, arm, lean, lift, elbow = u(18, 28), u(8, 22), u(16, 28), u(0, 4), 0.0, u(8, 24)
    fore, back = (swing, swing - knee * 0.35), (-swing * 0.8, -swing * 0.8 - knee)
    up, down = (arm, arm + elbow), (-arm, -arm + elbow)
    legs, arms = ((fore, back), (down, up)) if far > 0 else ((back, fore), (up, down))
    return Pose(arms[0], arms[1], legs[0], legs[1], u(0.6, 0.95), lean, lift)


def _mirror(pose: Pose) -> Pose:
    """The pose as seen in a mirror: left and right change places."""

    def turn(a: tuple[float, float]) -> tuple[float, float]:
        return (-a[0], -a[1])

    return Pose(
        turn(pose.left_arm),
        turn(pose.right_arm),
        turn(pose.left_leg),
        turn(pose.right_leg),
        -pose.turn,
        -pose.lean,
        pose.lift,
    )


def pose_for(doing: str, rng: np.random.Generator) -> Pose:
    """A random pose that shows someone `doing` one of DOING."""
    pose = _side(doing, rng) if doing in ("walking", "running", "sitting") else _front(doing, rng)
    return _mirror(pose) if rng.random() < 0.5 else pose


def _way(degrees: float) -> Points:
    angle = np.radians(degrees)
    return np.array([np.sin(angle), np.cos(angle)])


def joints_of(pose: Pose, x: float, foot: float, size: float, head: float = 1.0) -> tuple[Points, tuple[bool, ...]]:
    """The 18 keypoints in the unit frame, and which of them face the viewer.

    The body is five heads tall, as in picture books: faces stay legible when small. `head` scales the head alone. Right is
    the person's own right, on the viewer's left when it faces us.
    """
    front = float(np.sqrt(max(0.0, 1 - pose.turn**2)))
    up = -_way(pose.lean)
    side = np.array([-up[1], up[0]])
    hip, neck = np.zeros(2), up * 0.31
    j = np.zeros((18, 2))
    j[1] = neck
    shoulder, hips = 0.105 * max(front, 0.3), 0.062 * max(front, 0.3)
    j[2], j[5], j[8], j[11] = neck - side * shoulder, neck + side * shoulder, hip - side * hips, hip + side * hips
    for start, (upper, lower), first, long in (
        (2, pose.right_arm, 3, (0.165, 0.15)),
        (5, pose.left_arm, 6, (0.165, 0.15)),
        (8, pose.right_leg, 9, (0.225, 0.22)),
        (11, pose.left_leg, 12, (0.225, 0.22)),
    ):
        j[first] = j[start] + _way(upper) * long[0]
        j[first + 1] = j[first] + _way(lower) * long[1]
    middle = neck + up * (NECK + HEAD * head)
    ahead = side * HEAD * head * 0.75 * pose.turn
    j[0] = middle + ahead * 1.2 - up * 0.1 * HEAD * head
    j[14], j[15] = (
        middle + ahead * 0.6 + side * s * 0.4 * HEAD * head * max(front, 0.25) + up * 0.16 * HEAD * head
        for s in (-1, 1)
    )
    j[16], j[17] = (middle + side * s * 0.95 * HEAD * head * front - ahead * 0.3 for s in (-1, 1))
    j *= size
    j += np.array([x, foot - 0.03 * size - j[:, 1].max() - pose.lift * size])
    seen = [True] * 18
    if abs(pose.turn) > 0.5:
        seen[17 if pose.turn > 0 else 16] = False
        seen[15 if pose.turn > 0 else 14] = abs(pose.turn) < 0.75
    return j, tuple(seen)


def person(
    sheet: Sheet,
    x: float,
    foot: float,
    size: float,
    doing: str,
    pose: Pose | None = None,
    jitter: float = 0.0,
    head: float = 1.0,
) -> Body:
    """Lay one person on the sheet: far limbs, trunk, head, near limbs. `size` is the standing height.

    All that the joints leave open is named by the thing that a caption speaks of (a man or a woman, shirt or dress, its
    colour) or always the same: skin, hair, face, trousers. `jitter` moves every joint by that share of the size, `head`
    scales the head.
    """
    rng, tint = sheet.rng, sheet.palette.tint
    pose = pose or pose_for(doing, rng)
    joints, seen = joints_of(pose, x, foot, size, head)
    if jitter:
        joints = joints + rng.normal(0, jitter * size, joints.shape)
    top = "red" if rng.random() < 0.4 else CLOTHES[int(rng.integers(len(CLOTHES)))]
    woman = bool(rng.random() < 0.5)
    dress = woman and rng.random() < 0.5 and doing != "sitting"
    shirt, skin, hair = tint(NAMED[top]), tint(SKIN), tint(HAIR)
    trousers = skin if dress else tint(TROUSERS if top == "blue" else NAMED["blue"])
    if pose.lift == 0 or doing != "sitting":
        contact(sheet, x, foot, size * 0.16)
    sheet.begin(Thing("woman" if woman else "man", top, doing, "dress" if dress else "shirt"), foot)
    order = ("left", "right") if pose.turn >= 0 else ("right", "left")
    for n, who in enumerate(order):
        toe = pose.turn if pose.turn else (-0.35 if who == "right" else 0.35)
        shaded = n == 0 and pose.turn != 0
        _leg(sheet, joints, 8 if who == "right" else 11, size, trousers, shaded, toe)
    if abs(pose.turn) > 0.3:
        _arm(sheet, joints, 2 if order[0] == "right" else 5, size, darker(shirt, 0.2), darker(skin, 0.12))
        near: tuple[int, ...] = (2 if order[1] == "right" else 5,)
    else:
        near = (2, 5)
    face = _Head.of(joints, size * head, pose)
    if woman:
        _hair_back(sheet, face, hair)
    _trunk(sheet, joints, size, shirt, dress, pose)
    sheet.add(
        limb(joints[1], joints[1] + (joints[0] - joints[1]) * 0.5, 0.036 * size, 0.036 * size),
        darker(skin, 0.1),
        PERSON,
    )
    _head(sheet, joints, face, skin, hair)
    for start in near:
        _arm(sheet, joints, start, size, shirt, skin)
    body = Body(joints, seen, len(sheet.things))
    sheet.bodies.append(body)
    return body


def _stroke(sheet: Sheet, a: Points, b: Points, wide_a: float, wide_b: float, colour: Colour, same: bool) -> None:
    along = b - a
    long = float(np.hypot(*along)) or 1e-6
    across = np.array([-along[1], along[0]]) / long * max(wide_a, wide_b)
    middle = (a + b) / 2
    bulge = Bulge((float(middle[0]), float(middle[1])), (float(across[0]), float(across[1])))
    sheet.add(limb(a, b, wide_a, wide_b), colour, PERSON, same=same, bulge=bulge)


def _leg(sheet: Sheet, j: Points, start: int, size: float, colour: Colour, shaded: bool, toe: float) -> None:
    colour = darker(colour, 0.2) if shaded else colour
    knee, ankle = j[start + 1], j[start + 2]
    shoe = sheet.palette.tint((60, 48, 56))
    _stroke(sheet, j[start], knee, 0.06 * size, 0.046 * size, colour, same=False)
    _stroke(sheet, knee, ankle, 0.046 * size, 0.036 * size, colour, same=True)
    sole = ankle + np.array([0.0, 0.008]) * size
    _stroke(sheet, sole, sole + np.array([0.055 * toe, 0.0]) * size, 0.036 * size, 0.03 * size, shoe, same=True)
    sheet.add(disc(float(knee[0]), float(knee[1]), 0.04 * size, sides=12), colour, PERSON, same=True)


def _arm(sheet: Sheet, j: Points, start: int, size: float, sleeve: Colour, skin: Colour) -> None:
    elbow, wrist = j[start + 1], j[start + 2]
    _stroke(sheet, elbow, wrist, 0.036 * size, 0.033 * size, skin, same=False)
    sheet.add(disc(float(wrist[0]), float(wrist[1]), 0.042 * size, sides=12), skin, PERSON, same=True)
    _stroke(sheet, j[start], elbow, 0.046 * size, 0.04 * size, sleeve, same=True)


def _trunk(sheet: Sheet, j: Points, size: float, colour: Colour, dress: bool, pose: Pose) -> None:
    up = (j[1] - (j[8] + j[11]) / 2) / (0.31 * size)
    side = np.array([-up[1], up[0]]) * size
    front = max(float(np.sqrt(max(0.0, 1 - pose.turn**2))), 0.55)
    neck, hip = j[1], (j[8] + j[11]) / 2
    rows = [
        (neck + up * 0.03 * size, 0.05),
        (neck - up * 0.005 * size, 0.13),
        (neck - up * 0.16 * size, 0.105),
        (hip - up * 0.02 * size, 0.112),
    ]
    if dress:
        rows.append((hip - up * 0.17 * size, 0.19))
    left = [c - side * w * front for c, w in rows]
    right = [c + side * w * front for c, w in rows]
    middle = (neck + hip) / 2
    bulge = Bulge((float(middle[0]), float(middle[1])), (float(side[0] * 0.14 * front), float(side[1] * 0.14 * front)))
    sheet.add(np.array(left + right[::-1]), colour, PERSON, bulge=bulge)


@dataclass(frozen=True)
class _Head:
    """A head: its centre, its radius, its own up and side, and which way it looks."""

    centre: Points
    radius: float
    up: Points
    side: Points
    turn: float

    @classmethod
    def of(cls, j: Points, size: float, pose: Pose) -> _Head:
        """The head on the neck of a body whose head alone would suit the height `size`."""
        up = j[1] - (j[8] + j[11]) / 2
        up = up / (np.hypot(*up) or 1e-6)
        side = np.array([-up[1], up[0]])
        middle = j[0] + up * 0.1 * HEAD * size - side * 0.9 * HEAD * size * pose.turn
        return cls(middle, HEAD * size, up, side, pose.turn)


def _hair_back(sheet: Sheet, head: _Head, hair: Colour) -> None:
    r = head.radius
    back = head.centre - head.side * 0.3 * r * head.turn
    _stroke(sheet, back + head.up * 0.1 * r, back - head.up * 1.25 * r, 1.08 * r, 0.92 * r, hair, same=False)


def _head(sheet: Sheet, j: Points, head: _Head, skin: Colour, hair: Colour) -> None:
    """A round head with a cap of hair, two eyes where their joints are, and a smile."""
    r, up, side = head.radius, head.up, head.side
    x, y = float(head.centre[0]), float(head.centre[1])
    sheet.add(disc(x, y, r * 0.97, r * 1.03), skin, PERSON, bulge=Bulge((x, y), (r, 0.0), (0.0, r * 1.1)))
    if abs(head.turn) > 0.5:
        nose = head.centre + side * r * np.sign(head.turn) - up * 0.12 * r
        sheet.add(disc(float(nose[0]), float(nose[1]), 0.2 * r, sides=12), skin, PERSON, same=True)
    tilt = 0.65 * head.turn
    cap = [head.centre + (side * np.cos(t + tilt) + up * np.sin(t + tilt)) * r * 1.1 for t in np.linspace(0, np.pi, 13)]
    fringe = head.centre + up * r * 0.55 + side * r * 0.35 * head.turn
    sheet.add(np.array([*cap, fringe]), hair, PERSON)
    for eye in (14, 15):
        if abs(head.turn) < 0.75 or (eye == 14) == (head.turn > 0):
            sheet.add(disc(float(j[eye, 0]), float(j[eye, 1]), 0.15 * r, sides=12), INK, PERSON, same=True)
    mouth = head.centre - up * 0.42 * r + side * 0.45 * r * head.turn
    smile = [mouth + side * 0.36 * r * np.cos(t) - up * 0.26 * r * np.sin(t) for t in np.linspace(0, np.pi, 9)]
    sheet.add(np.array(smile), sheet.palette.tint((196, 84, 84)), PERSON, same=True)
