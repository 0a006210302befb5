"""Moving servers with GPUs, which Nova does only while they are off."""
