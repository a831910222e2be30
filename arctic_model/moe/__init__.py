"""Router, experts, dispatch, and the communication stream."""
