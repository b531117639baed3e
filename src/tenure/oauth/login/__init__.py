"""Programs that log in by themselves: a person agrees in the browser, and the program acts as an agent for them."""
