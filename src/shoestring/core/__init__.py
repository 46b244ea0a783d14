"""Foundation of everything else; imports nothing of Shoestring outside this folder."""
