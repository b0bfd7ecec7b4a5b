"""Putting a folder to work on a device over SSH: whole or not at all.

It is handed a folder, its files' hashes, a check to run there and a command to start there; it does
not know what a bundle is. `deploying.deploy` is the way in; `remote` is what runs on the device.
"""
