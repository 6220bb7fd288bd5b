"""Key ceremonies as files: a script agreed on, a run that officers confirm, a transcript that anyone verifies."""
