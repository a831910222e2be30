"""Which blocks of a page are its main part, and which are boilerplate, by the type of the page."""
