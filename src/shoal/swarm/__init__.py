"""Exchange the chunks of one sealed share with its peers."""
