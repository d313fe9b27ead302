"""Turn taking, measured: the real pipeline and its peers' plain rules on the same scripted calls over a bad line."""
