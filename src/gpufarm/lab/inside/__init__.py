"""What runs inside the lab's own OpenStack processes. Nothing outside may import it."""
