"""Answers to an MQTT broker: state, events, availability, and Home Assistant's discovery."""
