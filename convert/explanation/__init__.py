"""Why a decision came out as it did: what a recorded session's moment was made of, and what each part of it was worth."""
