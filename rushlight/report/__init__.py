"""What a compiled call does, for people: figures as objects, and one page of HTML."""
