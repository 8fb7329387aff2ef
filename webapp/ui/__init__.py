"""Everything that draws with Streamlit, one room a page."""
