"""From a drawing to pictures: prompt, settings, where a picture starts, what it would take, sweeps."""
