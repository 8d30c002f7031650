"""`relinkd.on-change`: recipients that are notified when an address changes."""
