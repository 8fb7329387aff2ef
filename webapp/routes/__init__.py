"""Our own routes beside Streamlit's, under /studio/, and what stands before every one of them."""
