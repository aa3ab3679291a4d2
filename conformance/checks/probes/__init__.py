"""What several checks do inside and on the host alike: the attacks, and what the host sees of them."""
