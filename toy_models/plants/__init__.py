"""How a backdoor gets into a model: trained through a known switch, grafted onto a lever, or merely taught."""
