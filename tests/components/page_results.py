"""The page of app_results.py. The query names the job that runs."""

import streamlit as st

from components import results

st.set_page_config(layout="wide")
job = st.query_params.get("job")
images = int(st.query_params.get("images", "1"))
actions = st.session_state.setdefault("actions", [])
_, right = st.columns([3, 2])
with right:
    action = results(
        key="results",
        events_url="./test/events",
        cancel_url=f"./test/cancel/{job}",
        job=job,
        control_url="./test/picture/control",
        images=images,
        height="640px",
    )
if action:
    actions.append(f"{action.kind} {action.picture} {action.job}")
st.write("heard: " + ", ".join(actions))
