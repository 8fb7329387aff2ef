"""`python -m controlnet_studio` is `studio`."""

from controlnet_studio import main

main()
