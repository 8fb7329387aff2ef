"""Jobs in motion: the durable queue, the worker process and who watches over it. Knows no model."""
