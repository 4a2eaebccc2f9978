"""The optimisers inside other libraries' loops: a module for each library, imported when asked."""
