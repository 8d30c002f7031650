"""The tests of relinkd, and the engines and fakes that they run against."""
