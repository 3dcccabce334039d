"""MiniPatent: drawings of parametric designs, made on the spot, in the layout of the DeepPatent data set.

``generate`` (module ``fastreid.data.synthetic.generate``) writes the data set; ``families`` holds the shapes,
``render`` turns a solid into a line drawing. Needs the extra ``synth`` (manifold3d).
"""
