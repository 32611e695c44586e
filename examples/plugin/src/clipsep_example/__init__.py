"""An example of everything that a package can add to clipsep: one short file for each kind of part.

The prompts stand here, because they are only a list.
"""

RECORDING = ("a recording of {}", "the sound of {}", "{} can be heard")
