"""Commands about runs on a cluster: submit one, list, follow and stop them."""
