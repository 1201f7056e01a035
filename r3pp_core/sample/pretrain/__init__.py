"""Pre-training of the sample's small backbones on other worlds than the sample's own."""
