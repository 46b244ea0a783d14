"""Evidence: the words of a verification, its runner, its verdicts and its stored results.

Nothing is imported here, so that a worker process starts fast. Take names from the modules:
`model` (study, arm, claim, record, verdict), `runner` (`verify`), `events`, `verdicts` (`judge`),
`store` (`Verification`, `load_verifications`), `local` and `ray_backend` (where tasks run).
"""
