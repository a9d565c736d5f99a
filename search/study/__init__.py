"""A study: from the request, checked, to its database; resumed, watched and read."""
