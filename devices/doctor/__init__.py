"""`edgeproof doctor`: what bites people on a device, and the line that mends each.

`devices.doctor.diagnosis` has the table of checks; importing this package loads none of them.
"""
