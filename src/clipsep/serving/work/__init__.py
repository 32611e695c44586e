"""What a server does with one upload after the other; nothing here knows HTTP."""
