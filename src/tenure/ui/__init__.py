"""The console: pages for people, over HTTP only.

What may not live here: a rule of any other room, a database, a second way to do a thing. Every page reads and every
button writes through ``tenure.client``, with the cookie of the person who looks, so that a program can do all that a
person can do here, and nothing else can be done here.
"""
