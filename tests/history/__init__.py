"""Histories: what relinkd was told and what it wrote, in order, and the promises over both."""
