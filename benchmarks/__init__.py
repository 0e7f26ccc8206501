# SPDX-License-Identifier: Apache-2.0
"""What a pin costs, measured: `python -m benchmarks` runs all of it, and README.md here tells the method."""
