"""Small applications that the documentation quotes; tests beside them run each."""
