"""A browser's tab without a browser: Streamlit's websocket, spoken by hand, so that it can also say what no browser would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

WAIT_S = 60.0
_STREAM = re.compile(rb"studio/events/([\w-]{32})")


class Tab:
    """One session; `widgets` are the ids on its page with their kinds, `texts` everything that alerts said."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.widgets: dict[str, str] = {}
        self.texts: list[str] = []
        self.stream = ""

    def run(self, page: str = "", **states: Any) -> bool:
        """Have the page run with widget states, by the ends of their ids or whole ids; returns whether it finished well.

        A state is (field of WidgetState, value).
        """
        message = BackMsg()
        message.rerun_script.page_name = page
        for name, (field, value) in states.items():
            state = message.rerun_script.widget_states.widgets.add()
            state.id = next((id for id in self.widgets if id.endswith(f"-{name}")), name)
            fill(state, field, value)
        return self.send(message)

    def send(self, message: BackMsg) -> bool:
        """Send any message and hear until the script has ended; returns whether it ended well."""
        self._socket.send(message.SerializeToString())
        while True:
            told = ForwardMsg()
            data = self._socket.recv(timeout=WAIT_S)
            told.ParseFromString(data if isinstance(data, bytes) else data.encode())
            self._hear(told, data if isinstance(data, bytes) else b"")
            if told.WhichOneof("type") == "script_finished":
                return told.script_finished in (
                    ForwardMsg.FINISHED_SUCCESSFULLY,
                    ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
                )

    def _hear(self, told: ForwardMsg, data: bytes) -> None:
        found = _STREAM.search(data)
        if found:
            self.stream = found[1].decode()
        if told.WhichOneof("type") != "delta" or told.delta.WhichOneof("type") != "new_element":
            return
        kind = told.delta.new_element.WhichOneof("type")
        element = getattr(told.delta.new_element, kind)
        if getattr(element, "id", ""):
            self.widgets[element.id] = kind
        if kind in ("alert", "exception"):
            self.texts.append(str(element))


def fill(state: Any, field: str, value: Any) -> None:
    """Set one field of a WidgetState: messages from a list, the rest as it is."""
    if field.endswith("array_value"):
        getattr(state, field).data.extend(value)
    elif field in ("string_trigger_value", "chat_input_value"):
        getattr(state, field).data = value
    else:
        setattr(state, field, value)


@contextmanager
def open_tab(url: str, workspace: str = "") -> Iterator[Tab]:
    """A tab on the studio at `url` ("http://127.0.0.1:8501")."""
    headers = {"Cookie": f"studio_workspace={workspace}"} if workspace else {}
    address = url.replace("http", "ws", 1) + "/_stcore/stream"
    with connect(
        address, subprotocols=["streamlit"], origin=url, additional_headers=headers, max_size=None, open_timeout=WAIT_S
    ) as socket:
        yield Tab(socket)
