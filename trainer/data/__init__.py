"""Where pictures come from: folders, lists, archives, sets by name; and what is kept of them."""
