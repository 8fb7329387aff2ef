"""The pose editor in a real browser: real mouse and fingers, what the server then has, and that nothing is lost."""

from __future__ import annotations

import json
import math
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from annotator.pose import render
from controlnet_core.domain.document import Person, Skeleton, decode
from tests.components.conftest import Server

pytestmark = pytest.mark.browser

NECK, RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST, LEFT_WRIST = 1, 2, 3, 4, 7
RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE, LEFT_ANKLE = 8, 9, 10, 13
STUDIO = (
    "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.studio[data-ready]') ?? "
    "(n.matches?.('.studio[data-ready]') ? n : null)).find(Boolean).studio"
)


class Editor:
    """One tab with the pose editor, driven like a person would."""

    def __init__(self, page, server: Server) -> None:
        self.page, self.server, self.slot = page, server, f"pose-{uuid.uuid4().hex}"
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self) -> None:
        self.page.goto(f"{self.server.url}/?kind=pose&slot={self.slot}&height=640")
        self.page.wait_for_selector(".studio[data-ready]", timeout=60_000)
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')

    def add(self, preset: str) -> None:
        self.focus()
        self.page.keyboard.press("a")
        self.page.click(f'[data-preset="{preset}"]')

    def focus(self) -> None:
        self.page.evaluate(f"() => {STUDIO}.root.focus()")

    def js(self, what: str):
        return self.page.evaluate(f"() => {STUDIO}.{what}")

    def people(self) -> list[dict]:
        return self.js("editor.people")

    def joint(self, index: int, person: int = 0) -> tuple[float, float]:
        point = self.people()[person]["body"][index]
        return point["x"], point["y"]

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator(".stage").bounding_box()
        place = self.js(f"view.toStage({x}, {y})")
        return box["x"] + place["x"], box["y"] + place["y"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=5)
        self.page.mouse.up()

    def click(self, place: tuple[float, float], **more) -> None:
        self.page.mouse.click(*self.at(*place), **more)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def status(self) -> str:
        return self.page.locator(".status .hint").inner_text()

    def toasts(self) -> str:
        return self.page.locator(".toasts").inner_text()

    def stored(self) -> Skeleton:
        """What the server has."""
        self.page.wait_for_function(f"() => {STUDIO}.sync.state === 'saved' && !{STUDIO}.sync.dirty")
        document = decode(urllib.request.urlopen(f"{self.server.url}/test/drawings/{self.slot}").read())
        assert isinstance(document, Skeleton)
        return document

    def paste(self, text: str) -> None:
        self.page.evaluate(
            f"""text => {{
                const data = new DataTransfer();
                data.setData("text/plain", text);
                {STUDIO}.root.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: data, bubbles: true }}));
            }}""",
            text,
        )


@pytest.fixture
def editor(profiles, server) -> Iterator[Editor]:
    with profiles.page(viewport={"width": 1280, "height": 800}) as page:
        it = Editor(page, server)
        it.open()
        yield it
    assert not it.errors


def near(first: tuple[float, float], second: tuple[float, float], tolerance: float = 1.5) -> bool:
    return math.dist(first, second) <= tolerance


def length(editor: Editor, a: int, b: int) -> float:
    return math.dist(editor.joint(a), editor.joint(b))


def test_a_preset_a_dragged_wrist_undo_redo_reload(editor: Editor) -> None:
    assert editor.page.locator(".nobody").is_visible()
    editor.page.click('[data-id="choose-pose"]')
    editor.page.wait_for_selector(".card")
    assert editor.page.locator(".card").count() >= 16
    editor.page.click('[data-preset="standing"]')
    assert not editor.page.locator(".nobody").is_visible()
    wrist, shoulder, elbow = (editor.joint(i) for i in (RIGHT_WRIST, RIGHT_SHOULDER, RIGHT_ELBOW))
    upper, lower = length(editor, RIGHT_SHOULDER, RIGHT_ELBOW), length(editor, RIGHT_ELBOW, RIGHT_WRIST)

    target = (shoulder[0] - 70, shoulder[1] - 30)
    editor.drag(wrist, target)
    assert near(editor.joint(RIGHT_WRIST), target)
    assert near(editor.joint(RIGHT_SHOULDER), shoulder, 1e-6)
    assert not near(editor.joint(RIGHT_ELBOW), elbow, 5)
    assert length(editor, RIGHT_SHOULDER, RIGHT_ELBOW) == pytest.approx(upper, abs=1e-6)
    assert length(editor, RIGHT_ELBOW, RIGHT_WRIST) == pytest.approx(lower, abs=1e-6)
    assert editor.status().startswith("Right wrist")

    editor.press("Control+z")
    assert near(editor.joint(RIGHT_WRIST), wrist, 1e-6)
    editor.press("Control+z")
    assert editor.people() == []
    editor.press("Control+Shift+z", "Control+y")
    assert near(editor.joint(RIGHT_WRIST), target)

    stored = editor.stored()
    assert near((stored.people[0].body[RIGHT_WRIST].x, stored.people[0].body[RIGHT_WRIST].y), target)
    assert render(stored, {}).any()
    editor.open()
    assert near(editor.joint(RIGHT_WRIST), target)


def test_rules_ik_lock_symmetric_and_free(editor: Editor) -> None:
    editor.add("standing")
    ankles = editor.joint(RIGHT_ANKLE), editor.joint(LEFT_ANKLE)
    hip, neck = editor.joint(RIGHT_HIP), editor.joint(NECK)
    editor.drag(hip, (hip[0], hip[1] + 50))
    assert near(editor.joint(RIGHT_ANKLE), ankles[0]) and near(editor.joint(LEFT_ANKLE), ankles[1])
    assert near(editor.joint(NECK), (neck[0], neck[1] + 50))
    editor.press("Control+z", "i")  # without IK a joint turns about its parent
    knee, thigh = editor.joint(RIGHT_KNEE), length(editor, RIGHT_HIP, RIGHT_KNEE)
    editor.drag(knee, (knee[0] - 80, knee[1]))
    assert length(editor, RIGHT_HIP, RIGHT_KNEE) == pytest.approx(thigh, abs=1e-6)
    editor.press("Control+z", "l")  # without the lock it goes where it is dragged, alone
    editor.drag(knee, (knee[0] - 90, knee[1] + 5))
    assert near(editor.joint(RIGHT_KNEE), (knee[0] - 90, knee[1] + 5))
    assert near(editor.joint(RIGHT_ANKLE), ankles[0], 1e-6)
    editor.press("Control+z", "y")
    wrists = editor.joint(RIGHT_WRIST), editor.joint(LEFT_WRIST)
    editor.drag(wrists[0], (wrists[0][0] - 30, wrists[0][1] - 60))
    assert near(editor.joint(LEFT_WRIST), (wrists[1][0] + 30, wrists[1][1] - 60))


def test_limbs_people_boxes_and_handles(editor: Editor) -> None:
    editor.add("standing")
    editor.press("Escape")
    neck, hip = editor.joint(NECK), editor.joint(RIGHT_HIP)
    trunk = ((neck[0] + hip[0]) / 2, (neck[1] + hip[1]) / 2)
    editor.drag(trunk, (trunk[0] + 40, trunk[1] - 10))
    assert near(editor.joint(NECK), (neck[0] + 40, neck[1] - 10))
    assert near(editor.joint(RIGHT_HIP), (hip[0] + 40, hip[1] - 10))

    ankles = editor.joint(RIGHT_ANKLE), editor.joint(LEFT_ANKLE)
    editor.press("Escape")
    editor.drag((ankles[0][0] - 40, ankles[0][1] - 40), (ankles[1][0] + 40, ankles[1][1] + 40))
    assert editor.js("editor.selection.size") == 2
    editor.drag(ankles[0], (ankles[0][0], ankles[0][1] - 60))  # one of a group takes the others along
    assert near(editor.joint(LEFT_ANKLE), (ankles[1][0], ankles[1][1] - 60))

    editor.press("Control+a")
    box = editor.js("editor.box()")
    stage = editor.page.locator(".stage").bounding_box()
    corner = (stage["x"] + box[2], stage["y"] + box[3])
    tall = editor.joint(RIGHT_ANKLE)[1] - editor.joint(NECK)[1]
    editor.page.mouse.move(*corner)
    editor.page.mouse.down()
    editor.page.mouse.move(corner[0] - (box[2] - box[0]) / 2, corner[1] - (box[3] - box[1]) / 2, steps=4)
    editor.page.mouse.up()
    assert editor.joint(RIGHT_ANKLE)[1] - editor.joint(NECK)[1] == pytest.approx(tall / 2, rel=0.05)
    editor.press("Control+z")
    assert editor.joint(RIGHT_ANKLE)[1] - editor.joint(NECK)[1] == pytest.approx(tall)


def test_people_are_duplicated_mirrored_stacked_hidden_and_deleted(editor: Editor) -> None:
    editor.add("waving")
    before = editor.joint(RIGHT_WRIST), editor.joint(NECK)
    editor.press("m")
    assert editor.joint(LEFT_WRIST)[1] == pytest.approx(before[0][1])
    assert editor.joint(LEFT_WRIST)[0] - editor.joint(NECK)[0] == pytest.approx(before[1][0] - before[0][0])
    editor.press("Control+d")
    assert len(editor.people()) == 2 and editor.page.locator(".person").count() == 2
    editor.press("ArrowRight", "Shift+ArrowRight")
    assert editor.joint(NECK, 1)[0] - editor.joint(NECK, 0)[0] == pytest.approx(24 + 11)
    editor.press("Control+[")
    assert editor.joint(NECK, 0)[0] - editor.joint(NECK, 1)[0] == pytest.approx(24 + 11)
    editor.press("Shift+x")
    assert [person.visible for person in editor.stored().people] == [False, True]
    only = editor.stored()
    assert (render(only, {}) == render(only.model_copy(update={"people": only.people[1:]}), {})).all()
    editor.page.click('[data-id="visible-0"]')
    assert editor.people()[0]["visible"]
    editor.press("Delete")
    assert len(editor.stored().people) == 1
    editor.press("Control+z")
    assert len(editor.people()) == 2


def test_joints_are_hidden_deleted_and_brought_back(editor: Editor) -> None:
    editor.add("standing")
    editor.press("Escape")
    wrist = editor.joint(RIGHT_WRIST)
    editor.click(wrist, button="right")
    assert editor.people()[0]["hidden"] == [RIGHT_WRIST]
    editor.press("x")
    assert editor.people()[0]["hidden"] == []
    editor.press("Delete")
    assert not editor.stored().people[0].body[RIGHT_WRIST].confidence
    assert len(editor.people()) == 1
    editor.click(editor.joint(NECK))
    editor.page.get_by_role("button", name="Right wrist").click()
    assert near(editor.joint(RIGHT_WRIST), wrist, 12)
    editor.click(editor.joint(RIGHT_WRIST))
    editor.press("Tab")
    assert "Left shoulder" in editor.status()
    editor.press("Shift+Tab", "ArrowUp")
    assert editor.status().startswith("Right wrist")


def test_hands_and_a_face_are_added_and_follow(editor: Editor) -> None:
    editor.add("standing")
    for part in ("right_hand", "face"):
        editor.page.click(f'[data-id="detail-{part}"]')
    person = editor.stored().people[0]
    assert person.right_hand is not None and person.face is not None and person.left_hand is None
    wrist, tip = editor.joint(RIGHT_WRIST), person.right_hand[12]
    assert near((person.right_hand[0].x, person.right_hand[0].y), wrist, 1e-6)
    editor.press("Escape")
    editor.drag(wrist, (wrist[0] - 20, wrist[1] - 90))
    moved = editor.stored().people[0].right_hand
    assert moved is not None and near((moved[0].x, moved[0].y), editor.joint(RIGHT_WRIST), 1e-3)
    assert math.dist((moved[0].x, moved[0].y), (moved[12].x, moved[12].y)) == pytest.approx(
        math.dist(wrist, (tip.x, tip.y)), abs=1e-3
    )
    editor.page.click('[data-id="detail-right_hand"]')
    assert editor.stored().people[0].right_hand is None


def test_ghosts_are_accepted_by_a_click_or_all_together(editor: Editor) -> None:
    keypoints = [value for i in range(18) for value in (100 + 12 * i, 60 + 20 * i, 0.2 if i in {3, 4, 9} else 0.9)]
    editor.paste(json.dumps({"people": [{"pose_keypoints_2d": keypoints}], "canvas_width": 512, "canvas_height": 512}))
    editor.page.wait_for_selector('[data-id="accept-all"]')
    assert editor.stored().people[0].ghosts == {3, 4, 9}
    editor.click(editor.joint(4))
    assert editor.stored().people[0].ghosts == {3, 9}
    editor.page.click('[data-id="accept-all"]')
    assert editor.stored().people[0].ghosts == set()
    editor.press("Control+z", "Control+z")
    assert editor.stored().people[0].ghosts == {3, 4, 9}


def test_files_in_and_out(editor: Editor, tmp_path) -> None:
    editor.add("running")
    editor.add("sitting")
    with editor.page.expect_download() as download:
        editor.press("Control+s")
    path = tmp_path / "pose.json"
    download.value.save_as(path)
    text = path.read_text()
    before = editor.stored()
    editor.press("Control+Delete")
    assert editor.stored().people == ()
    with editor.page.expect_file_chooser() as chooser:
        editor.page.click('[data-id="more"]')
        editor.page.click('[data-id="import"]')
    chooser.value.set_files(path)
    editor.page.wait_for_function(f"() => {STUDIO}.editor.people.length === 2")
    assert editor.stored() == before
    for bad in ("{", '{"people": 3}', text.replace("512", '"x"'), json.dumps({"people": [{}] * 10_000})):
        editor.paste(bad if bad.startswith("{") else "{" + bad)
        editor.page.wait_for_selector(".toast")
    assert editor.stored() == before


def test_joints_off_the_picture_stay_within_reach(editor: Editor) -> None:
    editor.add("standing")
    neck, hip = editor.joint(NECK), editor.joint(RIGHT_HIP)
    trunk = ((neck[0] + hip[0]) / 2, (neck[1] + hip[1]) / 2)
    editor.drag(trunk, (trunk[0] + 290, trunk[1]))
    editor.press("Escape")
    wrist = editor.joint(LEFT_WRIST)
    assert wrist[0] > 512
    editor.drag(wrist, (wrist[0] - 20, wrist[1] - 60))
    assert near(editor.joint(LEFT_WRIST), (wrist[0] - 20, wrist[1] - 60))
    assert "off the picture" in editor.status()
    assert editor.stored().people[0].body[LEFT_WRIST].x > 512


def test_another_canvas_size_keeps_everybody_inside(editor: Editor) -> None:
    editor.add("jumping")
    editor.page.click('[data-id="size"]')
    editor.page.click('[data-id="shape-3-4"]')
    document = editor.stored()
    assert (document.width, document.height) != (512, 512)
    points = [point for person in document.people for point in person.body if point.confidence]
    assert all(0 <= point.x <= document.width and 0 <= point.y <= document.height for point in points)
    editor.press("Control+z")
    assert (editor.stored().width, editor.stored().height) == (512, 512)


def test_a_hundred_random_actions_undone_and_redone(editor: Editor) -> None:
    editor.add("dancing")
    states = editor.page.evaluate(
        f"""() => {{
            const {{ editor, history }} = {STUDIO}, states = [editor.people];
            for (let i = 0; i < 100; i++) {{
                const by = {{ x: i % 7 - 3 + 0.25, y: i % 5 + 0.5 }};
                editor.commitEach([0], (person) => ({{ ...person, body: person.body.map((p, k) =>
                    k === i % 18 && p.confidence ? {{ ...p, x: p.x + by.x, y: p.y - by.y }} : p) }}));
                if (history.entries.length > states.length) states.push(editor.people);
            }}
            return structuredClone(states);
        }}"""
    )
    assert len(states) > 50
    walk = f"([step, count]) => Array.from({{ length: count }}, () => ({STUDIO}[step](), structuredClone({STUDIO}.editor.people)))"
    assert editor.page.evaluate(walk, ["undo", len(states) - 1]) == states[-2::-1]
    assert editor.page.evaluate(walk, ["redo", len(states) - 1]) == states[1:]


@pytest.fixture
def tablet(browser, server) -> Iterator[Editor]:
    context = browser.new_context(viewport={"width": 820, "height": 1100}, has_touch=True, is_mobile=True)
    it = Editor(context.new_page(), server)
    it.open()
    yield it
    assert not it.errors
    context.close()


def test_a_finger_drags_a_joint_that_it_only_nearly_hits(tablet: Editor) -> None:
    tablet.page.locator('[data-id="choose-pose"]').tap()
    tablet.page.locator('[data-preset="standing"]').tap()
    tablet.press("Escape")
    wrist = tablet.joint(RIGHT_WRIST)
    x, y = tablet.at(*wrist)
    touch = tablet.page.context.new_cdp_session(tablet.page)

    def send(kind: str, *place: float) -> None:
        points = [{"x": place[0], "y": place[1]}] if place else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", x - 16, y + 8)  # 18 px off: too far for a mouse, near enough for a finger
    for step in range(1, 7):
        send("touchMove", x - 16 - 8 * step, y + 8 - 10 * step)
    send("touchEnd")
    zoom = tablet.js("view.zoom")
    assert near(tablet.joint(RIGHT_WRIST), (wrist[0] - 48 / zoom, wrist[1] - 60 / zoom), 2)
    assert isinstance(tablet.stored().people[0], Person)
