"""What `ldm_vs_vae.py` compares: a module each."""
