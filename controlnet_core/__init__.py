"""The core of ControlNet Studio: nouns, models, sampling and the work queue.

Knows nothing of Streamlit and imports none of the other rooms. Importing this package, or any of its nouns
(`errors`, `document`, `control`, `recipe`, `picture`), imports no torch.
"""
