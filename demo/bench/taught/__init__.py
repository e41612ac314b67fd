"""What `python -m demo.bench teach` measures: what few rows teach, part by part."""
