"""The mathematics that several losses share."""
